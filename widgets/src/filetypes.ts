/** The files that can be seen as graphs. */

export interface IModelType {
  /** Name of the file type in JupyterLab. */
  name: string;
  label: string;
  extensions: string[];
  /** Whether a double click opens the graph. Files that other tools own as well are under "Open With" only. */
  isDefault: boolean;
}

export const MODEL_TYPES: readonly IModelType[] = [
  { name: 'deploykit-onnx', label: 'ONNX model', extensions: ['.onnx'], isDefault: true },
  { name: 'deploykit-tflite', label: 'TFLite model', extensions: ['.tflite'], isDefault: true },
  { name: 'deploykit-keras', label: 'Keras model', extensions: ['.keras'], isDefault: true },
  { name: 'deploykit-h5', label: 'HDF5 file', extensions: ['.h5', '.hdf5'], isDefault: false },
  { name: 'deploykit-pb', label: 'TensorFlow graph', extensions: ['.pb'], isDefault: false }
];
