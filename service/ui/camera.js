/** A dialog that takes pictures with the camera; one for the whole page. */

import { button, element } from "./elements.js";
import { pictureOf } from "./inputs.js";

const REASONS = {
  NotAllowedError: "The camera may not be used. Allow it in the browser's settings for this page.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is in use by another program.",
};

/** Shows the camera and gives every picture taken to `taken`, until it is closed; rejects with an Error in words. */
export async function photograph(title, taken) {
  const stream = await open();
  const video = element("video", { autoplay: true, playsinline: true, "aria-label": "What the camera sees" });
  video.muted = true;
  video.srcObject = stream;
  const count = element("output", {}, "No picture taken yet.");
  let number = 0;

  async function take() {
    const still = await frame(video);
    taken(await pictureOf(still, `photo-${++number}.jpg`, { fromFile: false }));
    count.textContent = number === 1 ? "1 picture taken." : `${number} pictures taken.`;
  }

  const shutter = button("Take picture", take, { class: "primary", disabled: true });
  video.addEventListener("loadeddata", () => (shutter.disabled = false));
  const dialog = element(
    "dialog",
    { class: "camera", "aria-label": title },
    element("h2", {}, title),
    video,
    count,
    element("div", { class: "tools" }, shutter, button("Close", () => dialog.close())),
  );
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    stream.getTracks().forEach((track) => track.stop());
    dialog.remove();
  });
  dialog.showModal();
}

async function open() {
  if (!navigator.mediaDevices) throw new Error("The camera works only over HTTPS or on this machine itself (localhost).");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "environment" } });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

function frame(video) {
  const sheet = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  sheet.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => sheet.toBlob(resolve, "image/jpeg", 0.9));
}
