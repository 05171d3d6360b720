// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-BXfifpAb.js", hash: "dHOBnwvHgrRtJsnE", media_type: "text/javascript", plain: include_bytes!("console/app-BXfifpAb.js"), brotli: include_bytes!("console/app-BXfifpAb.js.br") },
    File { name: "channels-0m8cimAm.js", hash: "zbfmrUTKBkioRNML", media_type: "text/javascript", plain: include_bytes!("console/channels-0m8cimAm.js"), brotli: include_bytes!("console/channels-0m8cimAm.js.br") },
    File { name: "explain-OQMk5gR3.js", hash: "_KSqYeg35EyA0PID", media_type: "text/javascript", plain: include_bytes!("console/explain-OQMk5gR3.js"), brotli: include_bytes!("console/explain-OQMk5gR3.js.br") },
    File { name: "fallback-BmLK_Ckn.js", hash: "w0uGYkhogtxZ4hU9", media_type: "text/javascript", plain: include_bytes!("console/fallback-BmLK_Ckn.js"), brotli: include_bytes!("console/fallback-BmLK_Ckn.js.br") },
    File { name: "later-Cb5DwhNz.js", hash: "pPsKID0dE40ITk7C", media_type: "text/javascript", plain: include_bytes!("console/later-Cb5DwhNz.js"), brotli: include_bytes!("console/later-Cb5DwhNz.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-KZ8WipuI.js", hash: "zjfvP8-KpJAnIrVp", media_type: "text/javascript", plain: include_bytes!("console/probe-KZ8WipuI.js"), brotli: include_bytes!("console/probe-KZ8WipuI.js.br") },
    File { name: "style-s5EB6ErS.css", hash: "s5EB6ErSmEXzhXmp", media_type: "text/css", plain: include_bytes!("console/style-s5EB6ErS.css"), brotli: include_bytes!("console/style-s5EB6ErS.css.br") },
]
