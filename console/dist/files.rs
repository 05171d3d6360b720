// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-gMgiDEOO.js", hash: "ZKGDrlcjPMNM7SoZ", media_type: "text/javascript", plain: include_bytes!("console/app-gMgiDEOO.js"), brotli: include_bytes!("console/app-gMgiDEOO.js.br") },
    File { name: "channels-CmMp56pk.js", hash: "VL34baryM6XYGL8M", media_type: "text/javascript", plain: include_bytes!("console/channels-CmMp56pk.js"), brotli: include_bytes!("console/channels-CmMp56pk.js.br") },
    File { name: "explain-DmlzBpXe.js", hash: "wxry2TJPLsbvW8C4", media_type: "text/javascript", plain: include_bytes!("console/explain-DmlzBpXe.js"), brotli: include_bytes!("console/explain-DmlzBpXe.js.br") },
    File { name: "fallback-DU8ckoFw.js", hash: "BCIn4c14N0_1K5yj", media_type: "text/javascript", plain: include_bytes!("console/fallback-DU8ckoFw.js"), brotli: include_bytes!("console/fallback-DU8ckoFw.js.br") },
    File { name: "later-owJp4_ev.js", hash: "O7vGnE7GbC48fqcB", media_type: "text/javascript", plain: include_bytes!("console/later-owJp4_ev.js"), brotli: include_bytes!("console/later-owJp4_ev.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-C4arCwsQ.js", hash: "CJE1trNegjxf-aK5", media_type: "text/javascript", plain: include_bytes!("console/probe-C4arCwsQ.js"), brotli: include_bytes!("console/probe-C4arCwsQ.js.br") },
    File { name: "style-3TU11bl6.css", hash: "3TU11bl6qFZPo5pF", media_type: "text/css", plain: include_bytes!("console/style-3TU11bl6.css"), brotli: include_bytes!("console/style-3TU11bl6.css.br") },
]
