// What the register is known to have changed and this page has not been told yet: its debts. A page
// is as current as its oldest debt, whatever else it hears.

export const LIST = Symbol("every service");
export const FACTS = Symbol("protection and drivers");
export const OBSERVED = Symbol("whether anybody observes");

const debts = new Map(); // by LIST, FACTS, OBSERVED or a uuid: {since, latest}

/** Remember that something has to be asked, because of what is known from now on. */
export function owe(what) {
  const now = performance.now();
  debts.set(what, { since: debts.get(what)?.since ?? now, latest: now });
}

/** Take it that the answer to a question asked at `asked` is shown; LIST answers for all services. */
export function pay(what, asked) {
  for (const one of what === LIST ? [LIST, ...owed().filter(isService)] : [what]) {
    const debt = debts.get(one);
    if (debt && debt.latest > asked) debt.since = Math.max(debt.since, asked);
    else debts.delete(one);
  }
}

export const owed = () => [...debts.keys()];

export const isService = (what) => typeof what === "string";

/** Return since when the oldest debt has stood, Infinity when there is none. */
export const oldest = () => Math.min(...[...debts.values()].map(({ since }) => since));
