import { describe, expect, it } from 'vitest';
import { besideModel, folderOf, graphFile, matchOpen, modelOf, nameOf, notebookName, storeFor } from '../src/paths';

describe('paths', () => {
  it('are split at the last slash', () => {
    expect([folderOf('a/b/net.onnx'), nameOf('a/b/net.onnx')]).toEqual(['a/b', 'net.onnx']);
    expect([folderOf('net.onnx'), nameOf('net.onnx')]).toEqual(['', 'net.onnx']);
  });

  it('of a SavedModel are those of its folder', () => {
    expect(graphFile('models/net')).toBe('models/net/saved_model.pb');
    expect(graphFile('')).toBe('saved_model.pb');
    expect(modelOf('models/net/saved_model.pb')).toBe('models/net');
    expect(modelOf('saved_model.pb')).toBe('saved_model.pb');
    expect(modelOf('models/frozen.pb')).toBe('models/frozen.pb');
  });
});

describe('a file that a model names', () => {
  it('is in the folder of the model', () => {
    expect(besideModel('a/b/net.onnx', 'net.onnx.data')).toBe('a/b/net.onnx.data');
    expect(besideModel('net.onnx', './variables/../weights/1')).toBe('weights/1');
  });

  it.each(['../other.onnx', 'x/../../other', '..\\other', '/etc/passwd', '\\\\host\\share', '', '.', 'x/..'])(
    'is not %j',
    name => {
      expect(besideModel('a/net.onnx', name)).toBeNull();
    }
  );
});

describe('a notebook', () => {
  it('is called after the model and never takes a name that is taken', () => {
    expect(notebookName('m/net.v2.onnx', [])).toBe('net.v2-optimize.ipynb');
    expect(notebookName('m/net.onnx', ['net-optimize.ipynb', 'net-optimize-2.ipynb'])).toBe('net-optimize-3.ipynb');
    expect(notebookName('', ['workbench.ipynb'])).toBe('workbench-2.ipynb');
  });

  it('keeps its sweeps in a folder of the model', () => {
    expect(storeFor('m/net.onnx')).toBe('runs/net');
    expect(storeFor('')).toBe('runs/workbench');
  });
});

describe('an open graph', () => {
  const open = ['a/net.onnx', 'b/net.onnx', 'c/flowers/saved_model.pb'];

  it('is found by the path a kernel knows', () => {
    expect(matchOpen('/home/me/models/b/net.onnx', open)).toBe('b/net.onnx');
    expect(matchOpen('./a/net.onnx', open)).toBe('a/net.onnx');
    expect(matchOpen('C:\\models\\b\\net.onnx', open)).toBe('b/net.onnx');
    expect(matchOpen('/srv/c/flowers', open)).toBe('c/flowers/saved_model.pb');
  });

  it('is not found by the name of another', () => {
    const steps = ['runs/steps/aa/model.onnx', 'model.onnx'];
    expect(matchOpen('/home/me/runs/steps/bb/model.onnx', steps.slice(0, 1))).toBeNull();
    expect(matchOpen('/home/me/runs/steps/aa/model.onnx', steps)).toBe('runs/steps/aa/model.onnx');
    expect(matchOpen('steps/bb/model.onnx', steps.slice(0, 1))).toBeNull();
    expect(matchOpen('other.onnx', open)).toBeNull();
    expect(matchOpen('', open)).toBeNull();
  });
});
