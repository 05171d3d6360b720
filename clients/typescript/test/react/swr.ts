// What a page of a test has at hand: React, SWR and its recipe.

import { createElement } from "react";
import { createRoot } from "react-dom/client";
import useSWR from "swr";
import { connect } from "tidings-client";
// @ts-expect-error From docs/frameworks.md.
import { bindSwr } from "recipe";

const swrPage = { h: createElement, createRoot, useSWR, connect, bindSwr: bindSwr as (bus: object) => () => void };

export type SwrPage = typeof swrPage;

Object.assign(globalThis, { swrPage });
