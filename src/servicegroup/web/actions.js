// Edits: each asks first, names the service, and says what became of it.

import { Refused, ask } from "./api.js";
import { $, h, say } from "./dom.js";
import { refresh } from "./live.js";
import { changed, known } from "./store.js";

const ADMIN = "Edits need the role admin; this token may read only.";

const EDITS = {
  disable: {
    verb: "Disable",
    body: { disabled: true },
    means: "It keeps running and its liveness is still judged; schedulers give it nothing new.",
    field: {
      name: "disabled_reason",
      label: "Reason",
      hint: "Whoever finds it disabled reads this.",
    },
  },
  enable: {
    verb: "Enable",
    body: { disabled: false },
    means: "Schedulers may use it again. The reason is cleared.",
  },
  forceDown: {
    verb: "Force down",
    body: { forced_down: true },
    isGrave: true,
    means:
      "It is down whatever its signals say, until an operator unsets it. Evacuation may start:" +
      " be sure that its host is fenced.",
  },
  unforce: {
    verb: "Unset force-down",
    body: { forced_down: false },
    means: "Its signals count again. Do this only when its host is known to be safe.",
  },
  remove: {
    verb: "Delete",
    isGrave: true,
    means:
      "Its record and its place in the backend go. If its process still" +
      " runs, it is told and stays away until it is restarted.",
    field: { name: "host", label: "Type the host to confirm", mustBe: "host" },
  },
};

/** Return the buttons for what can be done to a service; `done` is called after an edit. */
export function actions(service, done) {
  if (service.mirror) {
    const text = `Mirrored from ${service.mirror}: edit it there, and the change comes here by itself.`;
    return [h("p", { class: "small" }, text)];
  }
  if (known.readOnly) return [h("p", { class: "small" }, known.readOnly)];
  const names = [
    service.disabled ? "enable" : "disable",
    service.forced_down ? "unforce" : "forceDown",
    "remove",
  ];
  return names.map((name) =>
    h(
      "button",
      {
        type: "button",
        class: EDITS[name].isGrave ? "grave" : "",
        "data-action": name,
        onclick: () => confirm(service, EDITS[name], done),
      },
      `${EDITS[name].verb}…`,
    ),
  );
}

function confirm(service, edit, done) {
  const dialog = $("dialog");
  const { field } = edit;
  const input =
    field &&
    h("input", {
      id: "answer",
      name: field.name,
      maxlength: 255,
      autocomplete: "off",
      spellcheck: "false",
    });
  const problem = h("p", { class: "problem", role: "alert" });
  const go = h(
    "button",
    { class: edit.isGrave ? "grave" : "main", disabled: Boolean(field?.mustBe) },
    edit.verb,
  );
  if (field?.mustBe) {
    input.addEventListener("input", () => {
      go.disabled = input.value !== service[field.mustBe];
    });
  }
  const form = h(
    "form",
    { method: "dialog", onsubmit: submit },
    h("h2", { id: "dialog-title" }, `${edit.verb} ${service.host} ${service.binary}?`),
    h("p", {}, edit.means),
    field && h("label", { for: "answer" }, field.label),
    input,
    field?.hint && h("p", { class: "small" }, field.hint),
    field?.mustBe && h("p", { class: "small name" }, service[field.mustBe]),
    problem,
    h(
      "p",
      { class: "buttons" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      go,
    ),
  );

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    const path = `services/${encodeURIComponent(service.uuid)}`;
    const body = {
      ...edit.body,
      ...(field && !field.mustBe && { [field.name]: input.value.trim() || null }),
    };
    try {
      await (edit.body ? ask(path, "PATCH", body) : ask(path, "DELETE"));
      dialog.close();
      say($("announcer"), `${edit.verb}: done for ${service.host} ${service.binary}.`);
      await refresh(service.uuid).catch(() => {}); // the stream will tell
      done(edit.body ? service.uuid : null);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      say(problem, error.status === 403 ? `${ADMIN} (${error.message})` : error.message);
      go.disabled = error.status === 403;
      if (error.status === 403) known.readOnly = ADMIN;
      changed();
    }
  }

  dialog.replaceChildren(form);
  dialog.showModal();
}
