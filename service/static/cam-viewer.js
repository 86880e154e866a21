/**
 * The address of <cam-viewer>, which portals load from other origins; all it needs comes from viewer/.
 */

export { CamViewer } from "./viewer/element.js";
