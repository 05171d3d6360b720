// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-CKKOq07x.js", hash: "fAahQtpFZBNp1cfz", media_type: "text/javascript", plain: include_bytes!("console/app-CKKOq07x.js"), brotli: include_bytes!("console/app-CKKOq07x.js.br") },
    File { name: "channels-B_Cz7CeC.js", hash: "8HSYAwAUrqduv5hl", media_type: "text/javascript", plain: include_bytes!("console/channels-B_Cz7CeC.js"), brotli: include_bytes!("console/channels-B_Cz7CeC.js.br") },
    File { name: "connections-TaPvOSbO.js", hash: "a6M_7Y1WeB1vasYG", media_type: "text/javascript", plain: include_bytes!("console/connections-TaPvOSbO.js"), brotli: include_bytes!("console/connections-TaPvOSbO.js.br") },
    File { name: "fallback-BsuqcVPO.js", hash: "btL_-NQn_Rkox64u", media_type: "text/javascript", plain: include_bytes!("console/fallback-BsuqcVPO.js"), brotli: include_bytes!("console/fallback-BsuqcVPO.js.br") },
    File { name: "history-BEYrAyXq.js", hash: "HWS9K9zOqqdDBiYX", media_type: "text/javascript", plain: include_bytes!("console/history-BEYrAyXq.js"), brotli: include_bytes!("console/history-BEYrAyXq.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "nodes-B4bwemOQ.js", hash: "RvXVqLymuNILjHbh", media_type: "text/javascript", plain: include_bytes!("console/nodes-B4bwemOQ.js"), brotli: include_bytes!("console/nodes-B4bwemOQ.js.br") },
    File { name: "probe-DjuZjjbg.js", hash: "OnnX6jirfsmFBgOb", media_type: "text/javascript", plain: include_bytes!("console/probe-DjuZjjbg.js"), brotli: include_bytes!("console/probe-DjuZjjbg.js.br") },
    File { name: "publish-CTPJmvuL.js", hash: "jVL762jfJNhBGhug", media_type: "text/javascript", plain: include_bytes!("console/publish-CTPJmvuL.js"), brotli: include_bytes!("console/publish-CTPJmvuL.js.br") },
    File { name: "style-Co2EQT1L.css", hash: "Co2EQT1Lkw57jvD6", media_type: "text/css", plain: include_bytes!("console/style-Co2EQT1L.css"), brotli: include_bytes!("console/style-Co2EQT1L.css.br") },
    File { name: "types-ChK5QCo3.js", hash: "uLWpEe7vSYmioXra", media_type: "text/javascript", plain: include_bytes!("console/types-ChK5QCo3.js"), brotli: include_bytes!("console/types-ChK5QCo3.js.br") },
    File { name: "unref-Ce0IZ5ly.js", hash: "Y9qnnDgjzzex0EDm", media_type: "text/javascript", plain: include_bytes!("console/unref-Ce0IZ5ly.js"), brotli: include_bytes!("console/unref-Ce0IZ5ly.js.br") },
]
