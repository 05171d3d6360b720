// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-BgqKXDh5.js", hash: "O-aXC7Q8KnGL0Oag", media_type: "text/javascript", plain: include_bytes!("console/app-BgqKXDh5.js"), brotli: include_bytes!("console/app-BgqKXDh5.js.br") },
    File { name: "channels-BGqZZss3.js", hash: "GS-EjeLVKb6dW3PQ", media_type: "text/javascript", plain: include_bytes!("console/channels-BGqZZss3.js"), brotli: include_bytes!("console/channels-BGqZZss3.js.br") },
    File { name: "explain-CMmZOzqs.js", hash: "s1pG2MCsf3Tj53Gw", media_type: "text/javascript", plain: include_bytes!("console/explain-CMmZOzqs.js"), brotli: include_bytes!("console/explain-CMmZOzqs.js.br") },
    File { name: "fallback-rrYmRd2B.js", hash: "ADiJWhAj0N71ztNU", media_type: "text/javascript", plain: include_bytes!("console/fallback-rrYmRd2B.js"), brotli: include_bytes!("console/fallback-rrYmRd2B.js.br") },
    File { name: "later-DCGMAAdU.js", hash: "APll5HfKRMwj28GK", media_type: "text/javascript", plain: include_bytes!("console/later-DCGMAAdU.js"), brotli: include_bytes!("console/later-DCGMAAdU.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-cHocQjv_.js", hash: "yHpeN7o9IeAJ2zgT", media_type: "text/javascript", plain: include_bytes!("console/probe-cHocQjv_.js"), brotli: include_bytes!("console/probe-cHocQjv_.js.br") },
    File { name: "style-Co2EQT1L.css", hash: "Co2EQT1Lkw57jvD6", media_type: "text/css", plain: include_bytes!("console/style-Co2EQT1L.css"), brotli: include_bytes!("console/style-Co2EQT1L.css.br") },
]
