// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-BkJFriUk.js", hash: "dgkOFfykWCiuY9Qt", media_type: "text/javascript", plain: include_bytes!("console/app-BkJFriUk.js"), brotli: include_bytes!("console/app-BkJFriUk.js.br") },
    File { name: "channels-D10Qf0Q1.js", hash: "-EV4XktBHGhn4Dp4", media_type: "text/javascript", plain: include_bytes!("console/channels-D10Qf0Q1.js"), brotli: include_bytes!("console/channels-D10Qf0Q1.js.br") },
    File { name: "explain-DbBF400K.js", hash: "-HMAx1CGerP_82QK", media_type: "text/javascript", plain: include_bytes!("console/explain-DbBF400K.js"), brotli: include_bytes!("console/explain-DbBF400K.js.br") },
    File { name: "fallback-Bqt0I7Em.js", hash: "L_kSMposasytxvFk", media_type: "text/javascript", plain: include_bytes!("console/fallback-Bqt0I7Em.js"), brotli: include_bytes!("console/fallback-Bqt0I7Em.js.br") },
    File { name: "later-CtFXzEv-.js", hash: "riIHDTPqaQCSrwL5", media_type: "text/javascript", plain: include_bytes!("console/later-CtFXzEv-.js"), brotli: include_bytes!("console/later-CtFXzEv-.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-pZWPexdJ.js", hash: "VdUTRB102_qDCN87", media_type: "text/javascript", plain: include_bytes!("console/probe-pZWPexdJ.js"), brotli: include_bytes!("console/probe-pZWPexdJ.js.br") },
    File { name: "style-wk1L32wV.css", hash: "wk1L32wVoxc5J8kf", media_type: "text/css", plain: include_bytes!("console/style-wk1L32wV.css"), brotli: include_bytes!("console/style-wk1L32wV.css.br") },
]
