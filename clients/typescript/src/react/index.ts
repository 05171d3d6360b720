"use client";
// The hooks for React 18 and 19, `tidings-client/react`.

export { useConnection, useEvents, useInvalidation, useLatest } from "./hooks.js";
export { TidingsProvider, type TidingsProviderProps, useBus } from "./provider.js";
export type { Register, RegisteredBus, RegisteredEvents, UseEventsOptions, UseLatestOptions } from "./types.js";
