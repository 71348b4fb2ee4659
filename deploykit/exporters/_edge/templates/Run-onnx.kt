// Runs %%PLAIN%% with ONNX Runtime: implementation("com.microsoft.onnxruntime:onnxruntime-android:latest.release")
import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.nio.ByteBuffer
import java.nio.DoubleBuffer
import java.nio.FloatBuffer
import java.nio.IntBuffer
import java.nio.LongBuffer
import java.nio.ShortBuffer

class Runner(path: String) : AutoCloseable {
    private val env = OrtEnvironment.getEnvironment()
    private val session: OrtSession = env.createSession(path)

    /** Real numbers by the outputs' names, for one raw example of each input. */
    fun run(%%SIGNATURE%%): Map<String, List<Number>> {
        val tensors = mapOf(
%%INPUTS%%
        )
        try {
            session.run(tensors).use { found ->
                return mapOf(
%%OUTPUTS%%
                )
            }
        } finally {
            tensors.values.forEach { it.close() }
        }
    }

    override fun close() = session.close()
}
