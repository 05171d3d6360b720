// What a page of a test has at hand: React, and the client with its hooks. Bundled for each version of React.

import { createElement, StrictMode, useState } from "react";
import * as React from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { connect } from "tidings-client";
import * as hooks from "tidings-client/react";

const page = { h: createElement, StrictMode, useState, createRoot, hydrateRoot, connect, React, ...hooks };

export type Page = typeof page;

Object.assign(globalThis, { page });
