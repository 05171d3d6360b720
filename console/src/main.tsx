// The console of a tidings daemon: a page that shows what is on the bus. It talks to the daemon that serves it, and to nobody else.
//
// data/ asks and keeps; ui/ has the parts that views share; views/ has a file or a folder for each view.

import { render } from "preact";

import { App } from "./app.js";

render(<App />, document.getElementById("app")!);
