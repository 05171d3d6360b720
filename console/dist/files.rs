// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-BYbduBw_.js", hash: "av-WmKDinLR-pkC4", media_type: "text/javascript", plain: include_bytes!("console/app-BYbduBw_.js"), brotli: include_bytes!("console/app-BYbduBw_.js.br") },
    File { name: "channels-BZhARXqK.js", hash: "LgZiTm34IcB1C3ko", media_type: "text/javascript", plain: include_bytes!("console/channels-BZhARXqK.js"), brotli: include_bytes!("console/channels-BZhARXqK.js.br") },
    File { name: "explain-CKKyp9XB.js", hash: "iilrYQbiFkz6gnR1", media_type: "text/javascript", plain: include_bytes!("console/explain-CKKyp9XB.js"), brotli: include_bytes!("console/explain-CKKyp9XB.js.br") },
    File { name: "fallback-CiOxlZdR.js", hash: "hZzQDbjv-0khnK_I", media_type: "text/javascript", plain: include_bytes!("console/fallback-CiOxlZdR.js"), brotli: include_bytes!("console/fallback-CiOxlZdR.js.br") },
    File { name: "later-DZJ5ocC2.js", hash: "NVGPNURfztsTDqdK", media_type: "text/javascript", plain: include_bytes!("console/later-DZJ5ocC2.js"), brotli: include_bytes!("console/later-DZJ5ocC2.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-BDGn1KOv.js", hash: "OV_ROr5AMbMEuWLE", media_type: "text/javascript", plain: include_bytes!("console/probe-BDGn1KOv.js"), brotli: include_bytes!("console/probe-BDGn1KOv.js.br") },
    File { name: "style-wk1L32wV.css", hash: "wk1L32wVoxc5J8kf", media_type: "text/css", plain: include_bytes!("console/style-wk1L32wV.css"), brotli: include_bytes!("console/style-wk1L32wV.css.br") },
]
