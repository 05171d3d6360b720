// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-Bfdpu7TV.js", hash: "ZPLOb298nmFqWU9v", media_type: "text/javascript", plain: include_bytes!("console/app-Bfdpu7TV.js"), brotli: include_bytes!("console/app-Bfdpu7TV.js.br") },
    File { name: "channels-gIZzd1j5.js", hash: "E_iCmlPRY2F0jPSS", media_type: "text/javascript", plain: include_bytes!("console/channels-gIZzd1j5.js"), brotli: include_bytes!("console/channels-gIZzd1j5.js.br") },
    File { name: "connections-Dzov9Mw4.js", hash: "NnEn7rTqB2JHF_5a", media_type: "text/javascript", plain: include_bytes!("console/connections-Dzov9Mw4.js"), brotli: include_bytes!("console/connections-Dzov9Mw4.js.br") },
    File { name: "fallback-ovmrK5eW.js", hash: "LTFig0KJCY8V7BKT", media_type: "text/javascript", plain: include_bytes!("console/fallback-ovmrK5eW.js"), brotli: include_bytes!("console/fallback-ovmrK5eW.js.br") },
    File { name: "history-CLI8U526.js", hash: "D4Hg2RFC_BaCT7dE", media_type: "text/javascript", plain: include_bytes!("console/history-CLI8U526.js"), brotli: include_bytes!("console/history-CLI8U526.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "nodes-C8Dh9Czx.js", hash: "fBQ0FKmoVt8wxaYE", media_type: "text/javascript", plain: include_bytes!("console/nodes-C8Dh9Czx.js"), brotli: include_bytes!("console/nodes-C8Dh9Czx.js.br") },
    File { name: "probe-ClXGYOun.js", hash: "lILJqK2s64VGnuxF", media_type: "text/javascript", plain: include_bytes!("console/probe-ClXGYOun.js"), brotli: include_bytes!("console/probe-ClXGYOun.js.br") },
    File { name: "publish-Cf6toBPw.js", hash: "cDiaAJlDT0mtYFuc", media_type: "text/javascript", plain: include_bytes!("console/publish-Cf6toBPw.js"), brotli: include_bytes!("console/publish-Cf6toBPw.js.br") },
    File { name: "style-Ly1PKmC0.css", hash: "Ly1PKmC0B1WfB41u", media_type: "text/css", plain: include_bytes!("console/style-Ly1PKmC0.css"), brotli: include_bytes!("console/style-Ly1PKmC0.css.br") },
    File { name: "types-DS32Cabf.js", hash: "cJyupDiUfb3gnTM1", media_type: "text/javascript", plain: include_bytes!("console/types-DS32Cabf.js"), brotli: include_bytes!("console/types-DS32Cabf.js.br") },
    File { name: "unref-Ce0IZ5ly.js", hash: "Y9qnnDgjzzex0EDm", media_type: "text/javascript", plain: include_bytes!("console/unref-Ce0IZ5ly.js"), brotli: include_bytes!("console/unref-Ce0IZ5ly.js.br") },
]
