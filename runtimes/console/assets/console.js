"use strict";
// Pages work without this file. It adds the local time to every time, which is shown in UTC.
const local = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "full", timeStyle: "long" });

function addLocalTimes(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    time.title = local.format(new Date(time.dateTime));
  }
}

addLocalTimes(document);
// What htmx adds to the page.
document.addEventListener("htmx:load", (event) => addLocalTimes(event.target.parentElement ?? document));
