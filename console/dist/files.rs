// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-BUc0m2V5.js", hash: "mhs6Wi_7ya6CJzKH", media_type: "text/javascript", plain: include_bytes!("console/app-BUc0m2V5.js"), brotli: include_bytes!("console/app-BUc0m2V5.js.br") },
    File { name: "channels-BwxGiMkF.js", hash: "S4z1efWXcDoEfLCO", media_type: "text/javascript", plain: include_bytes!("console/channels-BwxGiMkF.js"), brotli: include_bytes!("console/channels-BwxGiMkF.js.br") },
    File { name: "connections-Cooop36P.js", hash: "TBRAKzcSzHZKa5oZ", media_type: "text/javascript", plain: include_bytes!("console/connections-Cooop36P.js"), brotli: include_bytes!("console/connections-Cooop36P.js.br") },
    File { name: "fallback-CBdoMRKl.js", hash: "qlDSD9tMloS-E6Xk", media_type: "text/javascript", plain: include_bytes!("console/fallback-CBdoMRKl.js"), brotli: include_bytes!("console/fallback-CBdoMRKl.js.br") },
    File { name: "history-497XNNsC.js", hash: "Oy4xas6Yz2RmCsmE", media_type: "text/javascript", plain: include_bytes!("console/history-497XNNsC.js"), brotli: include_bytes!("console/history-497XNNsC.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "nodes-i4ENezK3.js", hash: "ja-szg_DuEBfrf-7", media_type: "text/javascript", plain: include_bytes!("console/nodes-i4ENezK3.js"), brotli: include_bytes!("console/nodes-i4ENezK3.js.br") },
    File { name: "probe-DpKKcxLd.js", hash: "lUIIbAMZuPx2r3rM", media_type: "text/javascript", plain: include_bytes!("console/probe-DpKKcxLd.js"), brotli: include_bytes!("console/probe-DpKKcxLd.js.br") },
    File { name: "publish-2psHDnDV.js", hash: "msTCAJjydavUaHID", media_type: "text/javascript", plain: include_bytes!("console/publish-2psHDnDV.js"), brotli: include_bytes!("console/publish-2psHDnDV.js.br") },
    File { name: "style-Co2EQT1L.css", hash: "Co2EQT1Lkw57jvD6", media_type: "text/css", plain: include_bytes!("console/style-Co2EQT1L.css"), brotli: include_bytes!("console/style-Co2EQT1L.css.br") },
    File { name: "types-Dzmpx65N.js", hash: "AjmdLChG8rHs99JE", media_type: "text/javascript", plain: include_bytes!("console/types-Dzmpx65N.js"), brotli: include_bytes!("console/types-Dzmpx65N.js.br") },
    File { name: "unref-Ce0IZ5ly.js", hash: "Y9qnnDgjzzex0EDm", media_type: "text/javascript", plain: include_bytes!("console/unref-Ce0IZ5ly.js"), brotli: include_bytes!("console/unref-Ce0IZ5ly.js.br") },
]
