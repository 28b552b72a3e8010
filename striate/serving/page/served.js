"use strict";
// The token comes after a # in the address: browsers never send that part anywhere.
let token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
let chosen = "";
async function ask(path, options = {}) {
  const headers = {...options.headers, ...(token ? {authorization: "Bearer " + token} : {})};
  const response = await fetch(path, {...options, headers}).catch(() => { throw new Error("The server does not answer"); });
  const answer = await response.json();
  if (response.status === 401) askForToken();
  if (!response.ok) throw Object.assign(new Error(answer.error.message), {status: response.status});
  return answer;
}
function askForToken() {
  if (document.getElementById("token")) return;
  const form = make("form");
  const field = make("input", undefined, {type: "password", id: "token", required: true, autocomplete: "off"});
  const label = make("label", "Token ");
  label.append(field);
  form.append(label, " ", make("button", "Use it"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    token = field.value.trim();
    form.remove();
    begin();
  });
  at("drop").before(form);
  field.focus();
}
function describe(model) {
  chosen = model.name;
  const what = model.kind === "value" ? "one number" : `${model.num_classes} classes`;
  at("subtitle").textContent = `${model.name}, version ${model.version}: ${what}`;
  const curl = `curl ${token ? '-H "Authorization: Bearer $TOKEN" ' : ""}--data-binary @image.jpg ${location.origin}/models/${model.name}/predict`;
  at("note").replaceChildren("The same from a shell; ", make("a", "openapi.json", {href: "openapi.json"}), " has the rest.", make("pre", curl));
}
async function begin() {
  try {
    const {models} = await ask("models");
    say("");
    describe(models[0]);
    if (models.length > 1) {
      const select = make("select");
      select.setAttribute("aria-label", "Model");
      for (const model of models) select.append(make("option", model.name));
      select.addEventListener("change", () => describe(models[select.selectedIndex]));
      at("choice").replaceChildren(select);
    }
  } catch (error) {
    say(error.message, true);
  }
}
predict = async (file) => {
  try {
    const answer = await ask(`models/${encodeURIComponent(chosen)}/predict`, {method: "POST", body: file, headers: {"content-type": "image/*"}});
    return {kind: answer.kind, ...answer.predictions[0]};
  } catch (error) {
    if (![413, 415, 422].includes(error.status)) throw error;
    return {error};  // said of this picture; the others go on
  }
};
begin();
