// What benchmarks/studio.py does and waits for in the page: a wait ends with the frame after the one that has what is waited for.

window.when = (begun, true_) =>
  new Promise((done) => {
    const end = () => done((performance.now() - begun) / 1000);
    const look = () => requestAnimationFrame(true_() ? end : look);
    look();
  });
window.drop = async (encoded) => {
  const input = document.querySelector("input[type=file]"),
    moved = new DataTransfer();
  const before = document.querySelector("[aria-label='The answer'] img")?.src;
  moved.items.add(new File([Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0))], "photo.jpg", { type: "image/jpeg" }));
  input.files = moved.files;
  const begun = performance.now();
  input.dispatchEvent(new Event("change", { bubbles: true }));
  const answered = () => ![undefined, before].includes(document.querySelector("[aria-label='The answer'] img")?.src);
  const drawn = () => {
    const list = document.querySelector("[aria-label='Layers'] ol");
    const rows = [...(list?.querySelectorAll("li") ?? [])].filter(
      (row) => row.offsetTop + row.offsetHeight > list.scrollTop && row.offsetTop < list.scrollTop + list.clientHeight,
    );
    return rows.length > 0 && rows.every((row) => row.querySelector("canvas"));
  };
  const strip = await when(begun, () => answered() && drawn());
  const all = await when(begun, () => !document.querySelector(".side > p[role=status]"));
  return [strip, all];
};
window.map = () => document.querySelector("[aria-label='The layer'] [role=slider]");
window.at = ([down, right]) => {
  const box = map().getBoundingClientRect();
  return { bubbles: true, clientX: box.left + right * box.width, clientY: box.top + down * box.height };
};
window.hover = (place) => {
  const seen = () => document.querySelector("[aria-label='The layer'] .pair > figure:last-child figcaption")?.textContent;
  const read = () => map().getAttribute("aria-valuetext");
  const [before, began] = [read(), performance.now()];
  map().dispatchEvent(new PointerEvent("pointermove", at(place)));
  return when(began, () => read() !== before && seen()?.includes("This number"));
};
window.panel = (place) => {
  const told = () => document.querySelector("[aria-label='Arithmetic']");
  const before = told()?.querySelector("h2")?.textContent,
    began = performance.now();
  map().dispatchEvent(new MouseEvent("click", at(place)));
  return when(began, () => {
    const now = told();
    const title = now?.querySelector("h2")?.textContent;
    return title && title !== before && !now.classList.contains("stale") && now.querySelector("[data-testid=network]");
  });
};
window.draw = (name) => {
  const select = document.querySelector("select"),
    began = performance.now();
  select.value = name;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  return when(began, () => document.querySelector(`svg[aria-label^="Layers of ${name}."] [data-key]`));
};
window.taken = async (seconds) => {
  const { prototype } = CanvasRenderingContext2D;
  const draw = prototype.drawImage;
  let count = 0;
  prototype.drawImage = function (...given) {
    count += given[0] instanceof HTMLVideoElement;
    return draw.apply(this, given);
  };
  const begun = performance.now();
  await new Promise((over) => setTimeout(over, 1000 * seconds));
  prototype.drawImage = draw;
  return (1000 * count) / (performance.now() - begun);
};
