"use strict";
// What only the page of several runs has.
(() => {
  // The model that others are compared with.
  const reference = document.getElementById("reference");
  const show = () =>
    document.querySelectorAll("#pairs tbody").forEach((body) => (body.hidden = body.dataset.reference !== reference.value));
  reference?.addEventListener("change", show);
  if (reference) show(); // browsers keep what was chosen before a page is loaded again
})();
