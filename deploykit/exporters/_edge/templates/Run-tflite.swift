// Runs %%PLAIN%% with LiteRT: pod 'TensorFlowLiteSwift'
import Foundation
import TensorFlowLite

final class Runner {
    private let interpreter: Interpreter

    init(path: String) throws {
        interpreter = try Interpreter(modelPath: path)
        try interpreter.allocateTensors()
    }

    private func data<T>(_ values: [T]) -> Data {
        values.withUnsafeBufferPointer { Data(buffer: $0) }
    }

    private func values<T>(_ place: Int, _ kind: T.Type) throws -> [T] {
        try interpreter.output(at: place).data.withUnsafeBytes { Array($0.bindMemory(to: kind)) }
    }

    /// Real numbers by the outputs' names, for one raw example of each input.
    func run(%%SIGNATURE%%) throws -> [String: [Double]] {
%%INPUTS%%
        try interpreter.invoke()
        return [
%%OUTPUTS%%
        ]
    }
}
