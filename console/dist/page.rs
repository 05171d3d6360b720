// Written by console/build.mjs: what the daemon embeds of the console.
File { name: "index.html", hash: "qswtT_febFQeFfj9", media_type: "text/html; charset=utf-8", plain: include_bytes!("index.html"), brotli: include_bytes!("index.html.br") }
