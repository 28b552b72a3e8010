// Before the first paint: the colours this reader chose, if any.
try {
  const chosen = localStorage.getItem("striate-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage: the system's choice holds.
}
