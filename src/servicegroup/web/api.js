// This page's questions to the control plane, with the token that lives as long as its tab.

import { send } from "./http.js";

export { Refused } from "./http.js";

const KEPT = "servicegroup-token";

export const token = {
  get: () => sessionStorage.getItem(KEPT) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEPT, text) : sessionStorage.removeItem(KEPT)),
};

/** Return the JSON of an answer, null when it has no body; raises Refused. */
export const ask = (path, method = "GET", body = undefined) =>
  send(token.get(), path, { method, body });
