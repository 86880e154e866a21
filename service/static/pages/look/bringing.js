/** Image files that are chosen, dropped or pasted. */

const IMAGE_NAME = /\.(bmp|gif|jfif|jpe|jpe?g|png|tiff?|webp)$/i;

/** Whether a file may be an image; one without a type and a known ending may be as well. */
const mayBeImage = (file) =>
  file.type === "" ? !/\.\w{1,5}$/.test(file.name) || IMAGE_NAME.test(file.name) : file.type.startsWith("image/");

/** What a drop or paste brings: {file, notice}; file: null where there is none to show. */
export function brought(transfer, how) {
  const entries = [...transfer.items].map((one) => one.webkitGetAsEntry?.());
  const hasFolder = entries.some((one) => one?.isDirectory);
  const folders = new Set(entries.filter((one) => one?.isDirectory).map((one) => one.name));
  const files = [...transfer.files].filter((file) => !(hasFolder && folders.has(file.name)));
  return selected(files, how, hasFolder);
}

/** The first image of some files, and what is to be said of the others. */
export function selected(files, how, hasFolder = false) {
  const images = files.filter(mayBeImage);
  const [file = null] = images;
  if (!file) return { file, notice: nothing(files, how, hasFolder) };
  const count = files.length;
  const notice =
    count > 1 || hasFolder
      ? `${hasFolder ? "More than an image was" : `${count} files were`} ${how}; this shows the first${images.length < count ? " image" : ""}, ${file.name}. For many images use Jobs.`
      : "";
  return { file, notice };
}

function nothing(files, how, hasFolder) {
  if (hasFolder) return "A folder cannot be shown; take one image. For many images use Jobs.";
  if (files.length > 0) return `${files[0].name} is not an image file (JPEG, PNG, WebP, BMP, TIFF or GIF).`;
  return `What was ${how} is not an image file.`;
}
