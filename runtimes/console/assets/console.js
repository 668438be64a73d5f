"use strict";
// Pages work without this file. It adds the local time to every time, which is shown in UTC.
const local = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "full", timeStyle: "long" });
for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = local.format(new Date(time.dateTime));
}
