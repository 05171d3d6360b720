// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-D0Ihy-c3.js", hash: "0sxQQDhVzGw6Q5OY", media_type: "text/javascript", plain: include_bytes!("console/app-D0Ihy-c3.js"), brotli: include_bytes!("console/app-D0Ihy-c3.js.br") },
    File { name: "channels-DapC0nwK.js", hash: "c7DVUSjJYfYKh3KI", media_type: "text/javascript", plain: include_bytes!("console/channels-DapC0nwK.js"), brotli: include_bytes!("console/channels-DapC0nwK.js.br") },
    File { name: "explain-BYJUKtPG.js", hash: "h0g5ix3Go_v31bbu", media_type: "text/javascript", plain: include_bytes!("console/explain-BYJUKtPG.js"), brotli: include_bytes!("console/explain-BYJUKtPG.js.br") },
    File { name: "fallback-D8CbJzjL.js", hash: "UqWuuv08iiGDuPsd", media_type: "text/javascript", plain: include_bytes!("console/fallback-D8CbJzjL.js"), brotli: include_bytes!("console/fallback-D8CbJzjL.js.br") },
    File { name: "later-DOBkVnYQ.js", hash: "J1XPNJEvIfNLu7oR", media_type: "text/javascript", plain: include_bytes!("console/later-DOBkVnYQ.js"), brotli: include_bytes!("console/later-DOBkVnYQ.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-Chb4mtdT.js", hash: "TpG1vTz2vqwJSpR9", media_type: "text/javascript", plain: include_bytes!("console/probe-Chb4mtdT.js"), brotli: include_bytes!("console/probe-Chb4mtdT.js.br") },
    File { name: "style-Co2EQT1L.css", hash: "Co2EQT1Lkw57jvD6", media_type: "text/css", plain: include_bytes!("console/style-Co2EQT1L.css"), brotli: include_bytes!("console/style-Co2EQT1L.css.br") },
]
