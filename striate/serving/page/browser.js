"use strict";
const about = JSON.parse(at("about").textContent);
async function unpack(id) {
  const packed = await fetch("data:application/gzip;base64," + at(id).textContent);
  at(id).remove();
  return new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
async function open() {
  say("Opening the model");
  const source = URL.createObjectURL(new Blob([await unpack("runtime")], {type: "text/javascript"}));
  const ort = await import(source);
  Object.assign(ort.env.wasm, {numThreads: 1, wasmBinary: await unpack("binary")});
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(new Uint8Array(await unpack("model")), {executionProviders: ["wasm"]});
  say("");
  return {ort, session};
}
// The picture's pixels as the file has them: turned as EXIF says, no colour profile applied, transparency on the model's own colour.
async function pixels(file) {
  const options = {imageOrientation: about.exif ? "from-image" : "none", colorSpaceConversion: "none", premultiplyAlpha: "none"};
  const picture = await createImageBitmap(file, options).catch(() => { throw new Error("not a picture that this browser reads"); });
  const {width, height} = picture;
  if (width * height > about.max_pixels) throw new Error(`a picture of ${width} x ${height}: too many pixels`);
  const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
  if (about.channels !== 4) {
    context.fillStyle = `rgb(${about.alpha_color.join(",")})`;
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(picture, 0, 0);
  picture.close();
  const {data} = context.getImageData(0, 0, width, height);
  if (about.channels === 4) return {data: new Uint8Array(data.buffer), shape: [1, height, width, 4]};
  const colors = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < colors.length; from += 4, to += 3) {
    colors[to] = data[from];
    colors[to + 1] = data[from + 1];
    colors[to + 2] = data[from + 2];
  }
  return {data: colors, shape: [1, height, width, 3]};
}
function read(figures) {
  if (about.kind === "value") return {kind: "value", value: figures[0]};
  const all = [...figures].map((probability, position) => ({label: about.classes[position], probability}));
  const labels = all.filter(({probability}) => probability >= about.threshold).map(({label}) => label);
  const top = all.sort((first, second) => second.probability - first.probability).slice(0, 5);
  return {kind: about.kind, top, labels};
}
const opened = open();
predict = async (file) => {
  const {ort, session} = await opened;
  const picture = await pixels(file).catch((error) => ({error}));
  if (picture.error) return picture;
  const outputs = await session.run({images: new ort.Tensor("uint8", picture.data, picture.shape)});
  return read(outputs.probabilities.data);
};
document.title = at("title").textContent = about.name;
at("subtitle").textContent = about.kind === "value" ? "one number" : `${about.classes.length} classes`;
at("note").textContent = "The model runs in this page. No picture leaves this machine.";
opened.catch((error) => say(error.message, true));
