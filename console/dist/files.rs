// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-Cl_OYiBh.js", hash: "jx1Ec1bLxMomHgEy", media_type: "text/javascript", plain: include_bytes!("console/app-Cl_OYiBh.js"), brotli: include_bytes!("console/app-Cl_OYiBh.js.br") },
    File { name: "channels-Cq6uDaFT.js", hash: "lcZtbQKWJND4J3T0", media_type: "text/javascript", plain: include_bytes!("console/channels-Cq6uDaFT.js"), brotli: include_bytes!("console/channels-Cq6uDaFT.js.br") },
    File { name: "connections-Daca6bHG.js", hash: "ppYTqIwopDfpQBK_", media_type: "text/javascript", plain: include_bytes!("console/connections-Daca6bHG.js"), brotli: include_bytes!("console/connections-Daca6bHG.js.br") },
    File { name: "fallback-Bwxj7jb8.js", hash: "NFkaMBvIAm5unY4c", media_type: "text/javascript", plain: include_bytes!("console/fallback-Bwxj7jb8.js"), brotli: include_bytes!("console/fallback-Bwxj7jb8.js.br") },
    File { name: "history-CpSbbEsl.js", hash: "wDS5PbOYtOhg3HWz", media_type: "text/javascript", plain: include_bytes!("console/history-CpSbbEsl.js"), brotli: include_bytes!("console/history-CpSbbEsl.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "nodes-3PA4MELs.js", hash: "aNe7Ezn13rGiPRbr", media_type: "text/javascript", plain: include_bytes!("console/nodes-3PA4MELs.js"), brotli: include_bytes!("console/nodes-3PA4MELs.js.br") },
    File { name: "probe-DGSiYqh2.js", hash: "LT8vtOBoZNktELrG", media_type: "text/javascript", plain: include_bytes!("console/probe-DGSiYqh2.js"), brotli: include_bytes!("console/probe-DGSiYqh2.js.br") },
    File { name: "publish-BqQ_1Bl8.js", hash: "2sSWB-btvHyw5SjI", media_type: "text/javascript", plain: include_bytes!("console/publish-BqQ_1Bl8.js"), brotli: include_bytes!("console/publish-BqQ_1Bl8.js.br") },
    File { name: "style-Co2EQT1L.css", hash: "Co2EQT1Lkw57jvD6", media_type: "text/css", plain: include_bytes!("console/style-Co2EQT1L.css"), brotli: include_bytes!("console/style-Co2EQT1L.css.br") },
    File { name: "types-MeyathPt.js", hash: "qAPf1auIM21YFKRZ", media_type: "text/javascript", plain: include_bytes!("console/types-MeyathPt.js"), brotli: include_bytes!("console/types-MeyathPt.js.br") },
    File { name: "unref-Ce0IZ5ly.js", hash: "Y9qnnDgjzzex0EDm", media_type: "text/javascript", plain: include_bytes!("console/unref-Ce0IZ5ly.js"), brotli: include_bytes!("console/unref-Ce0IZ5ly.js.br") },
]
