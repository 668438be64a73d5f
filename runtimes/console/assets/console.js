"use strict";
// Pages work without this file. It adds the local time to every time, which is shown in UTC, and says when htmx got no
// answer.
const local = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "full", timeStyle: "long" });

function addLocalTimes(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    time.title = local.format(new Date(time.dateTime));
  }
}

addLocalTimes(document);
// What htmx adds to the page.
document.addEventListener("htmx:load", (event) => addLocalTimes(event.target.parentElement ?? document));

document.addEventListener("htmx:beforeRequest", (event) => {
  const { elt, target } = event.detail;
  // A level of the tree is loaded when it is opened, and once: after a failure it can be opened again.
  if (elt.matches("details") && (!elt.open || target.matches(".level"))) event.preventDefault();
  // The result of a check is about the former text.
  else if (target.matches(".check")) target.replaceChildren();
});

function sayUnanswered({ detail: { elt, target } }) {
  const notice = document.createElement(target.matches("ul") ? "li" : "p");
  notice.className = "notice bad unanswered";
  notice.textContent = document.body.dataset.unanswered;
  // A list of rows has no place for it: the link that asked for more has.
  const at = target.matches(".check, ul") ? target : elt.parentElement;
  at.querySelector(":scope > .unanswered")?.remove();
  at.append(notice);
}

for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, sayUnanswered);
}
