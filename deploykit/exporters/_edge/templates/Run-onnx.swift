// Runs %%PLAIN%% with ONNX Runtime: pod 'onnxruntime-objc'
import Foundation
import onnxruntime_objc

final class Runner {
    private let session: ORTSession

    init(path: String) throws {
        session = try ORTSession(env: ORTEnv(loggingLevel: .warning), modelPath: path, sessionOptions: nil)
    }

    private func tensor<T>(_ values: [T], _ type: ORTTensorElementDataType, _ shape: [NSNumber]) throws -> ORTValue {
        let data = values.withUnsafeBufferPointer { NSMutableData(data: Data(buffer: $0)) }
        return try ORTValue(tensorData: data, elementType: type, shape: shape)
    }

    private func values<T>(_ found: [String: ORTValue], _ name: String, _ kind: T.Type) throws -> [T] {
        let data = try found[name]!.tensorData() as Data
        return data.withUnsafeBytes { Array($0.bindMemory(to: kind)) }
    }

    /// Real numbers by the outputs' names, for one raw example of each input.
    func run(%%SIGNATURE%%) throws -> [String: [Double]] {
        let found = try session.run(
            withInputs: [
%%INPUTS%%
            ],
            outputNames: [%%OUTPUT_NAMES%%], runOptions: nil)
        return [
%%OUTPUTS%%
        ]
    }
}
