"""TensorFlow operators that compute and nothing else.

A SavedModel may use these without being trusted. Whatever is not listed is refused: operators that read or write
files, run Python, start servers, load libraries, or map memory are left out on purpose, and so is anything new.
"""

from __future__ import annotations

_CONTROL = """
    PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile Case StatelessCase Switch Merge Enter
    Exit NextIteration LoopCond ControlTrigger NoOp Assert Identity IdentityN Placeholder PlaceholderV2
    PlaceholderWithDefault Const HostConst FakeParam GuaranteeConst StopGradient PreventGradient Snapshot EnsureShape
    Copy DeepCopy ToBool
    TensorArrayV3 TensorArrayGradV3 TensorArrayWriteV3 TensorArrayReadV3 TensorArrayGatherV3 TensorArrayScatterV3
    TensorArrayConcatV3 TensorArraySplitV3 TensorArraySizeV3 TensorArrayCloseV3
    EmptyTensorList TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape
    TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
    TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
    TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack MapDefun
    OptionalFromValue OptionalGetValue OptionalHasValue OptionalNone
"""
_STATE = """
    VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp VarIsInitializedOp VariableShape
    DisableCopyOnRead ResourceGather ResourceGatherNd Variable VariableV2 IsVariableInitialized Assign AssignAdd
    AssignSub ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin ResourceScatterMul
    ResourceScatterSub ResourceScatterUpdate ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin
    ResourceScatterNdSub ResourceScatterNdUpdate ResourceStridedSliceAssign ScatterAdd ScatterSub ScatterUpdate
    ScatterNdAdd ScatterNdSub ScatterNdUpdate
    HashTable HashTableV2 AnonymousHashTable MutableHashTable MutableHashTableV2 AnonymousMutableHashTable
    InitializeTable InitializeTableV2 LookupTableFind LookupTableFindV2 LookupTableImport LookupTableImportV2
    LookupTableSize LookupTableSizeV2 LookupTableExportV2 LookupTableInsertV2
"""
_MATH = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh
    BatchMatMul BatchMatMulV2 BatchMatMulV3 Bincount BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil Cholesky
    ClipByValue Complex ComplexAbs Conj Cos Cosh Cross CumulativeLogsumexp Cumprod Cumsum DenseBincount Digamma Div
    DivNoNan Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual
    HistogramFixedWidth Igamma Igammac Imag Inv Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma LinSpace Log
    Log1p LogicalAnd LogicalNot LogicalOr LogMatrixDeterminant MatMul MatrixDeterminant MatrixInverse MatrixSolve
    MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg
    NextAfter NotEqual OnesLike Polygamma PopulationCount Pow Prod Qr Range Real RealDiv Reciprocal RightShift Rint
    Round Rsqrt SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum
    SegmentSumV2 Select SelectV2 SelfAdjointEigV2 Sigmoid Sign Sin Sinh SparseMatMul Sqrt Square SquaredDifference Sub
    Sum Svd Tan Tanh TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd
    UnsortedSegmentSum Xdivy Xlog1py Xlogy ZerosLike Zeta FFT FFT2D FFT3D IFFT IFFT2D IFFT3D RFFT RFFT2D RFFT3D IRFFT
    IRFFT2D IRFFT3D NthElement Roll L2Loss
"""
_ARRAY = """
    BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Concat ConcatOffset ConcatV2 ConjugateTranspose
    DepthToSpace Dequantize Diag DiagPart DynamicPartition DynamicStitch ParallelDynamicStitch ParallelConcat Empty
    ExpandDims ExtractImagePatches ExtractVolumePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsPerChannel Fill Fingerprint Gather GatherNd GatherV2 InvertPermutation InplaceAdd InplaceSub
    InplaceUpdate ListDiff LowerBound MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
    MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot Pack Pad PadV2
    QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 Rank
    Reshape Reverse ReverseSequence ReverseV2 ScatterNd ScatterNdNonAliasingAdd Shape ShapeN Size Slice SpaceToBatch
    SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin
    TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose Unique UniqueV2 UniqueWithCounts
    UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where
"""
_NEURAL = """
    AvgPool AvgPool3D BatchNormWithGlobalNormalization BiasAdd BiasAddV1 BlockLSTM BlockLSTMV2 Conv Conv2D
    Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropInput Conv3DBackpropInputV2 CTCGreedyDecoder
    CTCBeamSearchDecoder CudnnRNN CudnnRNNV2 CudnnRNNV3 DataFormatDimMap DataFormatVecPermute DepthwiseConv2dNative
    DepthwiseConv2dNativeBackpropInput Dilation2D Elu FractionalAvgPool FractionalMaxPool FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D GRUBlockCell InTopK InTopKV2 LeakyRelu
    LogSoftmax LRN LSTMBlockCell MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax Relu Relu6 Selu Softmax Softplus Softsign
    SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits TopK TopKV2 ApproxTopK
    _FusedBatchNormEx _FusedConv2D _FusedMatMul _FusedDepthwiseConv2dNative
"""
_IMAGE_AUDIO = """
    AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize
    DecodeAndCropJpeg DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeWebP DrawBoundingBoxes
    DrawBoundingBoxesV2 ExtractGlimpse ExtractGlimpseV2 ExtractJpegShape HSVToRGB ImageProjectiveTransformV2
    ImageProjectiveTransformV3 NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    RGBToHSV ScaleAndTranslate AudioSpectrogram DecodeWav Mfcc
"""
_TEXT_SPARSE = """
    AsString DecodeBase64 DecodeRaw DecodePaddedRaw EncodeBase64 ParseExample ParseExampleV2 ParseSingleExample
    ParseSequenceExample ParseSequenceExampleV2 ParseSingleSequenceExample ReduceJoin RegexFullMatch RegexReplace
    StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin StringLength StringLower StringNGrams StringSplit
    StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber
    StringUpper Substr UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode
    RaggedBincount RaggedCountSparseOutput RaggedCross RaggedFillEmptyRows RaggedGather RaggedRange
    RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant DenseCountSparseOutput
    DenseToDenseSetOperation DenseToSparseSetOperation SetSize SparseAdd SparseBincount SparseConcat
    SparseCountSparseOutput SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv
    SparseDenseCwiseMul SparseFillEmptyRows SparseReduceMax SparseReduceSum SparseReorder SparseReshape
    SparseSegmentMean SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments
    SparseSegmentSum SparseSegmentSumWithNumSegments SparseSlice SparseSoftmax SparseSplit SparseTensorDenseAdd
    SparseTensorDenseMatMul SparseToDense SparseToSparseSetOperation
"""
_RANDOM = """
    Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoissonV2 RandomShuffle RandomStandardNormal
    RandomUniform RandomUniformInt TruncatedNormal RngReadAndSkip RngSkip StatefulStandardNormalV2 StatefulUniform
    StatefulUniformInt StatefulUniformFullInt StatefulTruncatedNormal StatelessMultinomial StatelessRandomGammaV2
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
    StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
    StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2
"""

#: They make a protocol buffer, or write to a writer that another operator has made: none of them opens a file.
_SUMMARY = """
    AudioSummary AudioSummaryV2 CloseSummaryWriter FlushSummaryWriter HistogramSummary ImageSummary MergeSummary
    ScalarSummary SummaryWriter TensorSummary TensorSummaryV2 WriteAudioSummary WriteGraphSummary WriteHistogramSummary
    WriteImageSummary WriteRawProtoSummary WriteScalarSummary WriteSummary
"""

HARMLESS = frozenset(
    " ".join((_CONTROL, _STATE, _MATH, _ARRAY, _NEURAL, _IMAGE_AUDIO, _TEXT_SPARSE, _RANDOM, _SUMMARY)).split()
)

#: What only the part of a graph that saves and restores variables may use.
SAVER = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "Save", "Restore", "SaveSlices"})

#: What some operators do, for messages.
DOES = {
    "CreateSummaryDbWriter": "writes a database",
    "CreateSummaryFileWriter": "writes files",
    "ReadFile": "reads files",
    "WriteFile": "writes files",
    "MatchingFiles": "lists files",
    "PyFunc": "runs Python",
    "PyFuncStateless": "runs Python",
    "EagerPyFunc": "runs Python",
    "SaveV2": "writes files",
    "MergeV2Checkpoints": "moves and deletes files",
    "RestoreV2": "reads files",
    "ImmutableConst": "maps files",
    "InitializeTableFromTextFileV2": "reads files",
    "PrintV2": "writes to files",
    "XlaCallModule": "runs compiled code",
}
