// The page: the shop twice, each side with its own instance and its own connection to the bus.

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Controls } from "./Controls.tsx";
import { Side } from "./Side.tsx";
import { Speed } from "./Speed.tsx";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <header className="top">
      <h1>One shop, two instances</h1>
      <Speed />
      <Controls />
    </header>
    <main>
      <Side name="a" />
      <Side name="b" />
    </main>
  </StrictMode>,
);
