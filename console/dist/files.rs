// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-CGTk9bd8.js", hash: "3WfVbojN9qT91BVJ", media_type: "text/javascript", plain: include_bytes!("console/app-CGTk9bd8.js"), brotli: include_bytes!("console/app-CGTk9bd8.js.br") },
    File { name: "channels-CnABfhU8.js", hash: "NMViUtg5It3h53h6", media_type: "text/javascript", plain: include_bytes!("console/channels-CnABfhU8.js"), brotli: include_bytes!("console/channels-CnABfhU8.js.br") },
    File { name: "explain-xP_Fy_pN.js", hash: "tG5ZD1zunfFIL0aG", media_type: "text/javascript", plain: include_bytes!("console/explain-xP_Fy_pN.js"), brotli: include_bytes!("console/explain-xP_Fy_pN.js.br") },
    File { name: "fallback-C_8xXVGG.js", hash: "mx64DciUhW4wu3EK", media_type: "text/javascript", plain: include_bytes!("console/fallback-C_8xXVGG.js"), brotli: include_bytes!("console/fallback-C_8xXVGG.js.br") },
    File { name: "later-IVN0FlEY.js", hash: "SeepvLnMgRgRS83v", media_type: "text/javascript", plain: include_bytes!("console/later-IVN0FlEY.js"), brotli: include_bytes!("console/later-IVN0FlEY.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-BkycKVuN.js", hash: "4jgFnqLn2r-QKVqV", media_type: "text/javascript", plain: include_bytes!("console/probe-BkycKVuN.js"), brotli: include_bytes!("console/probe-BkycKVuN.js.br") },
    File { name: "style-gCakn1Ea.css", hash: "gCakn1Ean_s6Z1bu", media_type: "text/css", plain: include_bytes!("console/style-gCakn1Ea.css"), brotli: include_bytes!("console/style-gCakn1Ea.css.br") },
]
