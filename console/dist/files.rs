// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-DA4L6mOe.js", hash: "UjSwERXbvca4WTyJ", media_type: "text/javascript", plain: include_bytes!("console/app-DA4L6mOe.js"), brotli: include_bytes!("console/app-DA4L6mOe.js.br") },
    File { name: "channels-XGS9E3mW.js", hash: "gtLI_BtWzbfW3tWv", media_type: "text/javascript", plain: include_bytes!("console/channels-XGS9E3mW.js"), brotli: include_bytes!("console/channels-XGS9E3mW.js.br") },
    File { name: "explain-DhtSvwjv.js", hash: "VfXhxz46wFofLPkm", media_type: "text/javascript", plain: include_bytes!("console/explain-DhtSvwjv.js"), brotli: include_bytes!("console/explain-DhtSvwjv.js.br") },
    File { name: "fallback-DmnlFkZ0.js", hash: "sCBImr2MlkDZcFsr", media_type: "text/javascript", plain: include_bytes!("console/fallback-DmnlFkZ0.js"), brotli: include_bytes!("console/fallback-DmnlFkZ0.js.br") },
    File { name: "later-CBTQ8eJ5.js", hash: "rMOjWyqZQzihRedg", media_type: "text/javascript", plain: include_bytes!("console/later-CBTQ8eJ5.js"), brotli: include_bytes!("console/later-CBTQ8eJ5.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-mc_Q8UqN.js", hash: "9cMdjKoew0HL17e2", media_type: "text/javascript", plain: include_bytes!("console/probe-mc_Q8UqN.js"), brotli: include_bytes!("console/probe-mc_Q8UqN.js.br") },
    File { name: "style-s5EB6ErS.css", hash: "s5EB6ErSmEXzhXmp", media_type: "text/css", plain: include_bytes!("console/style-s5EB6ErS.css"), brotli: include_bytes!("console/style-s5EB6ErS.css.br") },
]
