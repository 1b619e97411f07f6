// The page: which part is shown, the token, the theme, and the second that passes.

import { token } from "./api.js";
import { $, say } from "./dom.js";
import { startEvents } from "./events.js";
import { follow, retry } from "./live.js";
import { repaint, startMap } from "./map.js";
import { sayHeard, startOverview } from "./overview.js";
import { openService, startService } from "./service.js";
import { changed, known, now, onChange } from "./store.js";
import { startTable } from "./table.js";
import { address, takeAddress } from "./view.js";
import { tick } from "./words.js";

const THEMES = ["auto", "light", "dark"];
const KEPT = "servicegroup-theme";

function route() {
  const uuid = location.hash.match(/^#\/services\/([^/?]+)/)?.[1];
  const was = $("service").hidden ? null : $("service").dataset.uuid;
  $("fleet").hidden = Boolean(uuid);
  $("service").hidden = !uuid;
  $("service").dataset.uuid = uuid ? decodeURIComponent(uuid) : "";
  if (!uuid) takeAddress(location.hash);
  openService(uuid ? decodeURIComponent(uuid) : null);
  changed(true);
  if (uuid) $("service-title").focus();
  else if (was) {
    setTimeout(() =>
      ($("rows").querySelector(`[data-key="${CSS.escape(was)}"] a`) ?? $("table")).focus(),
    );
  }
}

const showFleet = () => {
  location.hash = address();
};

function startToken() {
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("token").value.trim();
    if (!/^[\x21-\x7e]+$/.test(text)) {
      return say($("token-problem"), "A token has no blanks and no letters beyond ASCII.");
    }
    token.set(text);
    $("token").value = "";
    known.readOnly = "";
    retry();
  });
  $("forget").addEventListener("click", () => {
    token.set("");
    location.reload();
  });
  onChange(() => {
    const isNeeded = known.phase === "token";
    if (isNeeded && $("token-panel").hidden) setTimeout(() => $("token").focus());
    $("token-panel").hidden = !isNeeded;
    $("forget").hidden = !token.get();
    say(
      $("token-problem"),
      isNeeded && token.get() ? `This token is refused: ${known.trouble}` : "",
    );
  });
}

function startTheme() {
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    say($("theme-name"), theme);
    repaint();
  };
  $("theme").addEventListener("click", () => {
    const next =
      THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
    localStorage.setItem(KEPT, next);
    show(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  const kept = localStorage.getItem(KEPT);
  show(THEMES.includes(kept) ? kept : "auto");
}

function passSecond() {
  tick(now());
  sayHeard();
}

startTheme();
startToken();
startOverview();
startMap((uuid) => {
  location.hash = `#/services/${encodeURIComponent(uuid)}`;
});
startTable();
startEvents();
startService(showFleet);
$("back").addEventListener("click", showFleet);
$("skip").addEventListener("click", () =>
  ($("fleet").hidden ? $("service-title") : $("table")).focus(),
);
addEventListener("hashchange", route);
addEventListener("online", retry);
setInterval(passSecond, 1000);
route();
follow();
