// Written by console/build.mjs: what the daemon embeds of the console.
[
    File { name: "app-BT46G4Bg.js", hash: "CQ1Gbb__9Sjiq85t", media_type: "text/javascript", plain: include_bytes!("console/app-BT46G4Bg.js"), brotli: include_bytes!("console/app-BT46G4Bg.js.br") },
    File { name: "channels-CAU-YS8c.js", hash: "u18WcDsybw-rrKKc", media_type: "text/javascript", plain: include_bytes!("console/channels-CAU-YS8c.js"), brotli: include_bytes!("console/channels-CAU-YS8c.js.br") },
    File { name: "connections-C3f_VtU3.js", hash: "_T0wZb6X9cZGXibj", media_type: "text/javascript", plain: include_bytes!("console/connections-C3f_VtU3.js"), brotli: include_bytes!("console/connections-C3f_VtU3.js.br") },
    File { name: "fallback-DuFlZBvy.js", hash: "GXfuwjcxGCll2K-f", media_type: "text/javascript", plain: include_bytes!("console/fallback-DuFlZBvy.js"), brotli: include_bytes!("console/fallback-DuFlZBvy.js.br") },
    File { name: "history-C6ECLQ1q.js", hash: "LU98mZZGwsjTpd7r", media_type: "text/javascript", plain: include_bytes!("console/history-C6ECLQ1q.js"), brotli: include_bytes!("console/history-C6ECLQ1q.js.br") },
    File { name: "licenses.txt", hash: "j_9MNLNLC7mFDh45", media_type: "text/plain; charset=utf-8", plain: include_bytes!("console/licenses.txt"), brotli: include_bytes!("console/licenses.txt.br") },
    File { name: "nodes-Dpx1gV3f.js", hash: "zZ-mxfiYAnEj7RPa", media_type: "text/javascript", plain: include_bytes!("console/nodes-Dpx1gV3f.js"), brotli: include_bytes!("console/nodes-Dpx1gV3f.js.br") },
    File { name: "probe-dkmIdXSY.js", hash: "-RlZ2i3dD3XIXGnj", media_type: "text/javascript", plain: include_bytes!("console/probe-dkmIdXSY.js"), brotli: include_bytes!("console/probe-dkmIdXSY.js.br") },
    File { name: "publish-CEWl-avv.js", hash: "9CbvrJU7N7j2wBfY", media_type: "text/javascript", plain: include_bytes!("console/publish-CEWl-avv.js"), brotli: include_bytes!("console/publish-CEWl-avv.js.br") },
    File { name: "style-Ly1PKmC0.css", hash: "Ly1PKmC0B1WfB41u", media_type: "text/css", plain: include_bytes!("console/style-Ly1PKmC0.css"), brotli: include_bytes!("console/style-Ly1PKmC0.css.br") },
    File { name: "types-ycxmUibw.js", hash: "ytRsZeWaM43CJPfY", media_type: "text/javascript", plain: include_bytes!("console/types-ycxmUibw.js"), brotli: include_bytes!("console/types-ycxmUibw.js.br") },
    File { name: "unref-Ce0IZ5ly.js", hash: "Y9qnnDgjzzex0EDm", media_type: "text/javascript", plain: include_bytes!("console/unref-Ce0IZ5ly.js"), brotli: include_bytes!("console/unref-Ce0IZ5ly.js.br") },
]
