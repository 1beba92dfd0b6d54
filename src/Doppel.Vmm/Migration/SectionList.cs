using System.Text;
using Doppel.Machine.State;
using Doppel.Vmm.Snapshots;

namespace Doppel.Vmm.Migration;

/// <summary>The sections of a machine in one frame.</summary>
internal static class SectionList
{
    private const int LongestName = 256;

    /// <summary>Writes them.</summary>
    internal static byte[] Write(IReadOnlyList<SavedSection> sections)
    {
        var writer = new StateWriter();
        writer.Write(sections.Count);
        foreach (SavedSection section in sections)
        {
            writer.Write(Encoding.UTF8.GetBytes(section.Name));
            writer.Write(section.Version);
            writer.Write(section.Bytes);
        }

        return writer.ToArray();
    }

    /// <summary>Reads them.</summary>
    /// <exception cref="IOException">They can't be read.</exception>
    internal static IReadOnlyList<SavedSection> Read(byte[] bytes)
    {
        try
        {
            var reader = new StateReader(bytes);
            var sections = new List<SavedSection>();
            int count = reader.ReadInt32();
            for (int i = 0; i < count; i++)
            {
                string name = Encoding.UTF8.GetString(reader.ReadBytes(LongestName));
                int version = reader.ReadInt32();
                sections.Add(new SavedSection(name, version, reader.ReadBytes(bytes.Length)));
            }

            return sections;
        }
        catch (InvalidDataException e)
        {
            throw new IOException($"the sections can't be read: {e.Message}", e);
        }
    }
}
