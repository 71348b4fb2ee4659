// Runs %%PLAIN%% with LiteRT: implementation("com.google.ai.edge.litert:litert:1.4.0")
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

class Runner(file: File) : AutoCloseable {
    private val interpreter = Interpreter(file)

    private fun buffer(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

    /** Real numbers by the outputs' names, for one raw example of each input. */
    fun run(%%SIGNATURE%%): Map<String, List<Number>> {
%%INPUTS%%
%%BUFFERS%%
        interpreter.runForMultipleInputsOutputs(arrayOf<Any>(%%IN_ORDER%%), mapOf<Int, Any>(%%OUT_ORDER%%))
        return mapOf(
%%OUTPUTS%%
        )
    }

    override fun close() = interpreter.close()
}
