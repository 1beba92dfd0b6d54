using System.Numerics;
using System.Runtime.CompilerServices;
using Doppel.Machine.State;

namespace Doppel.Machine.Interrupts;

/// <summary>A set of the 256 interrupt vectors, as the eight 32-bit registers of IRR, ISR and TMR hold it.</summary>
[InlineArray(8)]
internal struct VectorSet
{
    private uint _first;

    /// <summary>The highest vector in the set; -1 when it is empty.</summary>
    internal readonly int Highest
    {
        get
        {
            for (int i = 7; i >= 0; i--)
            {
                if (this[i] != 0)
                    return (i * 32) + 31 - BitOperations.LeadingZeroCount(this[i]);
            }

            return -1;
        }
    }

    internal readonly bool Contains(int vector) => (this[vector >> 5] & (1u << (vector & 31))) != 0;

    internal void Add(int vector) => this[vector >> 5] |= 1u << (vector & 31);

    internal void Remove(int vector) => this[vector >> 5] &= ~(1u << (vector & 31));

    internal readonly void Save(StateWriter writer)
    {
        for (int i = 0; i < 8; i++)
            writer.Write(this[i]);
    }

    internal static VectorSet Read(StateReader reader)
    {
        VectorSet set = default;
        for (int i = 0; i < 8; i++)
            set[i] = reader.ReadUInt32();
        return set;
    }
}
