// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-CkhZufHR.js", hash: "GdLuphhFZLthQJ-p", media_type: "text/javascript", plain: include_bytes!("console/app-CkhZufHR.js"), brotli: include_bytes!("console/app-CkhZufHR.js.br") },
    File { name: "channels-Cn2-vrWX.js", hash: "-GldPyfdcoK6S0ci", media_type: "text/javascript", plain: include_bytes!("console/channels-Cn2-vrWX.js"), brotli: include_bytes!("console/channels-Cn2-vrWX.js.br") },
    File { name: "explain-D7s8mdmb.js", hash: "QqLT5Zt1uz_fWMjb", media_type: "text/javascript", plain: include_bytes!("console/explain-D7s8mdmb.js"), brotli: include_bytes!("console/explain-D7s8mdmb.js.br") },
    File { name: "fallback-BrW1Y7ft.js", hash: "8gcFOyHff2LJRmTN", media_type: "text/javascript", plain: include_bytes!("console/fallback-BrW1Y7ft.js"), brotli: include_bytes!("console/fallback-BrW1Y7ft.js.br") },
    File { name: "later-S6xqYmTa.js", hash: "X8R6cH80Z31iTeDp", media_type: "text/javascript", plain: include_bytes!("console/later-S6xqYmTa.js"), brotli: include_bytes!("console/later-S6xqYmTa.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-CqLHaL8_.js", hash: "FKph3a_O1kGKCCaR", media_type: "text/javascript", plain: include_bytes!("console/probe-CqLHaL8_.js"), brotli: include_bytes!("console/probe-CqLHaL8_.js.br") },
    File { name: "style-wk1L32wV.css", hash: "wk1L32wVoxc5J8kf", media_type: "text/css", plain: include_bytes!("console/style-wk1L32wV.css"), brotli: include_bytes!("console/style-wk1L32wV.css.br") },
]
