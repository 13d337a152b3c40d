// node segment.mjs model.onnx photograph.jpg mask.png
// npm install onnxruntime-node sharp
import ort from "onnxruntime-node";
import sharp from "sharp";

const [model, photograph, output] = process.argv.slice(2);

// bytes of red, green and blue, row by row: the normalisation is inside of the file
const decoded = sharp(photograph).rotate().toColourspace("srgb").removeAlpha().raw();
const { data, info } = await decoded.toBuffer({ resolveWithObject: true });
const { width, height, channels } = info;

const session = await ort.InferenceSession.create(model);
const images = new ort.Tensor("uint8", data, [1, height, width, channels]);
const { mask } = await session.run({ images }, ["mask"]);

// (1, height, width) mask values of the data set, as a grey PNG
const grey = { raw: { width, height, channels: 1 } };
await sharp(Buffer.from(mask.data), grey).toColourspace("b-w").png().toFile(output);
