/** What readers bring: files that are checked before a byte of them is sent. */

import { Problem } from "../shell/api";

/** Bytes that the studio takes in one upload; the server says the same. */
export const MOST_BYTES = 64 * 2 ** 20;

/** The files of a drop or of a file dialog. Throws `Problem` for folders, for none, and for one that is too large. */
export function droppedFiles(items: DataTransfer): File[] {
  for (const item of items.items) if (item.webkitGetAsEntry()?.isDirectory) throw folder(item.webkitGetAsEntry()?.name ?? "");
  return checked([...items.files]);
}

export function checked(files: readonly File[]): File[] {
  if (!files.length) throw new Problem("That was no file", { fix: "drop image files, or choose them" });
  for (const file of files) {
    if (file.size > MOST_BYTES) {
      const why = `${megabytes(file.size)} MB; the studio takes images up to ${megabytes(MOST_BYTES)} MB`;
      throw new Problem("This file is too large", { where: file.name, why, fix: "give a smaller image" });
    }
    if (!file.size) throw new Problem("This file is empty", { where: file.name, fix: "give an image" });
  }
  return [...files];
}

function folder(name: string): Problem {
  const fix = "open the images in it and drop those; to look at a whole data set, start `striate studio FOLDER`";
  return new Problem("This is a folder", { where: name, fix });
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
