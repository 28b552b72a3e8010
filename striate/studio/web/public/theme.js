// Before the first paint: the colours that this reader chose, else the system's.
const system = matchMedia("(prefers-color-scheme: dark)");
function dress() {
  let chosen = null;
  try {
    chosen = localStorage.getItem("striate-theme");
  } catch {
    // No storage: the system's choice holds.
  }
  const known = chosen === "light" || chosen === "dark";
  document.documentElement.dataset.theme = known ? chosen : system.matches ? "dark" : "light";
}
dress();
system.addEventListener("change", dress);
