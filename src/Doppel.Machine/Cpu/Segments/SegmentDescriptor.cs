namespace Doppel.Machine.Cpu.Segments;

/// <summary>
/// A descriptor of 8 or, for system descriptors in long mode, 16 bytes, with its fields taken apart (Intel SDM vol. 3,
/// 3.4.5, 3.5 and 7.2.3). No field is checked.
/// </summary>
/// <param name="low">The first eight bytes.</param>
/// <param name="high">The second eight bytes of a 16-byte descriptor, else 0.</param>
public readonly struct SegmentDescriptor(ulong low, ulong high = 0)
{
    /// <summary>The first eight bytes.</summary>
    public ulong Low { get; } = low;

    /// <summary>The second eight bytes of a 16-byte descriptor, else 0.</summary>
    public ulong High { get; } = high;

    /// <summary>Base address; all 64 bits for a 16-byte descriptor.</summary>
    public ulong Base => ((Low >> 16) & 0xFFFFFF) | ((Low >> 32) & 0xFF000000) | (High << 32);

    /// <summary>Limit in bytes, scaled by G.</summary>
    public uint Limit
    {
        get
        {
            uint raw = (uint)(Low & 0xFFFF) | ((uint)(Low >> 32) & 0xF0000);
            return (Low & (1UL << 55)) != 0 ? (raw << 12) | 0xFFF : raw;
        }
    }

    /// <summary>Access rights in the layout of <see cref="SegmentRegister.Attributes"/>.</summary>
    public SegmentAttributes Attributes => (SegmentAttributes)((uint)(Low >> 40) & 0xF0FF);

    /// <summary>Descriptor privilege level, 0 to 3.</summary>
    public int Dpl => (int)(Low >> 45) & 3;

    /// <summary>P.</summary>
    public bool IsPresent => (Low & (1UL << 47)) != 0;

    /// <summary>S: a code or data segment.</summary>
    public bool IsCodeOrData => (Low & (1UL << 44)) != 0;

    /// <summary>A code segment.</summary>
    public bool IsCode => ((Low >> 40) & 0x18) == 0x18;

    /// <summary>A code segment that may be read.</summary>
    public bool IsReadableCode => ((Low >> 40) & 0x1A) == 0x1A;

    /// <summary>A conforming code segment.</summary>
    public bool IsConforming => ((Low >> 40) & 0x1C) == 0x1C;

    /// <summary>A data segment that may be written.</summary>
    public bool IsWritableData => ((Low >> 40) & 0x1A) == 0x12;

    /// <summary>L: 64-bit code.</summary>
    public bool IsLong => (Low & (1UL << 53)) != 0;

    /// <summary>D/B.</summary>
    public bool IsBig => (Low & (1UL << 54)) != 0;

    /// <summary>The accessed bit of a code or data segment.</summary>
    public bool IsAccessed => (Low & (1UL << 40)) != 0;

    /// <summary>Type of a system descriptor; meaningless for code and data.</summary>
    public DescriptorType SystemType => (DescriptorType)((Low >> 40) & 15);

    /// <summary>For gates: the selector of the target.</summary>
    public ushort GateSelector => (ushort)(Low >> 16);

    /// <summary>For gates: the target offset; the caller cuts it to 16 bits for a 16-bit gate.</summary>
    public ulong GateOffset => (Low & 0xFFFF) | ((Low >> 32) & 0xFFFF0000) | (High << 32);

    /// <summary>For call gates: the number of stack parameters, 0 to 31.</summary>
    public int GateParameters => (int)(Low >> 32) & 31;

    /// <summary>For 64-bit interrupt and trap gates: the interrupt stack table entry, 0 for none.</summary>
    public int GateStack => (int)(Low >> 32) & 7;

    /// <summary>The segment register that a load of this descriptor gives, with the accessed bit set for code and data.</summary>
    public SegmentRegister ToRegister(ushort selector) => new()
    {
        Selector = selector,
        Base = Base,
        Limit = Limit,
        Attributes = IsCodeOrData ? Attributes | SegmentAttributes.Accessed : Attributes,
    };
}
