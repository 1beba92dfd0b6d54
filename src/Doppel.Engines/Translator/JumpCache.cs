using System.Numerics;
using Doppel.Machine.Cpu;
using Doppel.Machine.Cpu.Mmu;

namespace Doppel.Engines.Translator;

/// <summary>
/// Where linear addresses lead, for branches that leave their page and for indirect ones: 4,096 entries by a hash of the
/// address. A key is the negated sum of the address and the tag of its half (<see cref="CodeTags"/>), so that one
/// comparison tells address, address space and age. Privileged code caches only the upper half, CPL 3 only the lower: a
/// half then also stands for the privilege that its code was translated for. 16- and 32-bit code lies in the lower half; its
/// addresses are raised by <see cref="SegmentSlots.CodeKey"/>, which stands for mode and privilege. Tags are even, so that no
/// key of the upper half, whose addresses take one from the tag, is one of those. The first entry stays empty: all look there
/// while an event is pending (<see cref="StateLayout.EventMask"/>). Emitted code reads and fills it.
/// </summary>
/// <remarks>Belongs to the vCPU's thread.</remarks>
internal sealed unsafe class JumpCache
{
    internal const int Entries = 4096;

    /// <summary>The address is turned by this and added to itself before the index is cut out.</summary>
    internal const int Rotation = 5;

    private readonly VirtualCpu _cpu;
    private readonly ulong* _keys;
    private readonly ulong* _codes;
    private readonly TranslationCache _cache;
    private uint _epoch;
    private int _generation;

    internal JumpCache(VirtualCpu cpu, TranslationCache cache)
    {
        _cpu = cpu;
        _cache = cache;
        _keys = (ulong*)((byte*)cpu.State + Keys);
        _codes = (ulong*)((byte*)cpu.State + Codes);
        Clear();
    }

    /// <summary>Distance of the keys from the vCPU's state.</summary>
    internal static int Keys => CpuStateBlock.EngineAreaOffset;

    /// <summary>Distance of the code addresses from the vCPU's state.</summary>
    internal static int Codes => CpuStateBlock.EngineAreaOffset + (Entries * sizeof(ulong));

    /// <summary>Enters the code of an address that has just been found in the current mode.</summary>
    internal void Set(ulong address, byte* code)
    {
        bool isUpper = (address >> 47 & 1) != 0;
        bool is64 = _cpu.State->Is64Bit;
        if (is64 && isUpper == (_cpu.State->Cpl == 3))
            return;
        _cpu.Tlb.MarkCode(address);
        if (!is64)
            address += *(ulong*)((byte*)_cpu.State + SegmentSlots.CodeKey);
        int index = (int)(address + BitOperations.RotateRight(address, Rotation)) & (Entries - 1);
        if (index == 0)
            return;
        _keys[index] = 0 - (address + _cpu.State->CodeTags[isUpper ? CodeTags.Upper : CodeTags.Lower]);
        _codes[index] = (ulong)code;
    }

    /// <summary>Forgets what was entered under tags that have started again, and before code was dropped. Before emitted code is entered.</summary>
    internal void Follow()
    {
        if (_epoch != _cpu.Tlb.CodeTags.Epoch || _generation != _cache.Generation)
            Clear();
    }

    /// <summary>Forgets everything.</summary>
    internal void Clear()
    {
        _epoch = _cpu.Tlb.CodeTags.Epoch;
        _generation = _cache.Generation;
        // Zero is no key: tags begin at 1.
        new Span<ulong>(_keys, Entries).Clear();
    }
}
