namespace Doppel.Devices.Nvme;

/// <summary>Status of a command: status code type in bits 10 to 8, status code in bits 7 to 0 (NVMe 1.4, 4.6.1).</summary>
internal enum NvmeStatus : ushort
{
    Success = 0x000,
    InvalidOpcode = 0x001,
    InvalidField = 0x002,
    DataTransferError = 0x004,
    InternalError = 0x006,
    InvalidNamespace = 0x00B,
    SequenceError = 0x00C,
    InvalidSegment = 0x00D,
    InvalidDescriptorCount = 0x00E,
    InvalidDataLength = 0x00F,
    InvalidDescriptorType = 0x011,
    InvalidPrpOffset = 0x013,
    WriteProtected = 0x020,
    OutOfRange = 0x080,
    InvalidCompletionQueue = 0x100,
    InvalidQueueId = 0x101,
    InvalidQueueSize = 0x102,
    TooManyEventRequests = 0x105,
    InvalidVector = 0x108,
    InvalidLogPage = 0x109,
    InvalidQueueDeletion = 0x10C,
    NotSaveable = 0x10D,
    WriteFault = 0x280,
    ReadError = 0x281,
}
