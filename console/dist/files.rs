// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-DqhOCZHy.js", hash: "4D6tRVaaGXSjpD7u", media_type: "text/javascript", plain: include_bytes!("console/app-DqhOCZHy.js"), brotli: include_bytes!("console/app-DqhOCZHy.js.br") },
    File { name: "channels-CAD3GXgm.js", hash: "B2vum5IFNR6452ay", media_type: "text/javascript", plain: include_bytes!("console/channels-CAD3GXgm.js"), brotli: include_bytes!("console/channels-CAD3GXgm.js.br") },
    File { name: "explain-Ct5S57Sa.js", hash: "zKkl9lhg_BDACNok", media_type: "text/javascript", plain: include_bytes!("console/explain-Ct5S57Sa.js"), brotli: include_bytes!("console/explain-Ct5S57Sa.js.br") },
    File { name: "fallback-Cnf1O1ma.js", hash: "T3lNYT4_YypQt3jg", media_type: "text/javascript", plain: include_bytes!("console/fallback-Cnf1O1ma.js"), brotli: include_bytes!("console/fallback-Cnf1O1ma.js.br") },
    File { name: "later-CvuPsN5P.js", hash: "HVIDvQNEb9xRRosy", media_type: "text/javascript", plain: include_bytes!("console/later-CvuPsN5P.js"), brotli: include_bytes!("console/later-CvuPsN5P.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "probe-CUATvz5N.js", hash: "crDNT_fUmEPqlTd_", media_type: "text/javascript", plain: include_bytes!("console/probe-CUATvz5N.js"), brotli: include_bytes!("console/probe-CUATvz5N.js.br") },
    File { name: "style-Co2EQT1L.css", hash: "Co2EQT1Lkw57jvD6", media_type: "text/css", plain: include_bytes!("console/style-Co2EQT1L.css"), brotli: include_bytes!("console/style-Co2EQT1L.css.br") },
]
