// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-B1owZeSM.js", hash: "-R9IL68aJ9JM5TYZ", media_type: "text/javascript", plain: include_bytes!("console/app-B1owZeSM.js"), brotli: include_bytes!("console/app-B1owZeSM.js.br") },
    File { name: "channels-Bua3kOEJ.js", hash: "yXKgjNuIw4Bp5Z0b", media_type: "text/javascript", plain: include_bytes!("console/channels-Bua3kOEJ.js"), brotli: include_bytes!("console/channels-Bua3kOEJ.js.br") },
    File { name: "explain-B3b4m1lJ.js", hash: "FxsTXX1aPI6h1EDU", media_type: "text/javascript", plain: include_bytes!("console/explain-B3b4m1lJ.js"), brotli: include_bytes!("console/explain-B3b4m1lJ.js.br") },
    File { name: "fallback-BG-wknCJ.js", hash: "xeQXcnQ-GhwxnO67", media_type: "text/javascript", plain: include_bytes!("console/fallback-BG-wknCJ.js"), brotli: include_bytes!("console/fallback-BG-wknCJ.js.br") },
    File { name: "later-CHn6jM9x.js", hash: "czrTpxossOaO0Zxd", media_type: "text/javascript", plain: include_bytes!("console/later-CHn6jM9x.js"), brotli: include_bytes!("console/later-CHn6jM9x.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-ByA3IG0a.js", hash: "X2bpsAMqg-4uHUJl", media_type: "text/javascript", plain: include_bytes!("console/probe-ByA3IG0a.js"), brotli: include_bytes!("console/probe-ByA3IG0a.js.br") },
    File { name: "style-gCakn1Ea.css", hash: "gCakn1Ean_s6Z1bu", media_type: "text/css", plain: include_bytes!("console/style-gCakn1Ea.css"), brotli: include_bytes!("console/style-gCakn1Ea.css.br") },
]
