namespace Doppel.Vmm.Boot;

/// <summary>Finds the loader for a file.</summary>
public static class BootImage
{
    /// <summary>Reads a kernel and recognises its format: Linux bzImage, ELF with a PVH entry, or Multiboot.</summary>
    /// <exception cref="BootException">The file can't be read, is no kernel, or is damaged.</exception>
    public static IBootLoader Open(string path) => Recognise(BootFile.Read(path, "kernel"));

    /// <summary>Recognises the format of an image in memory.</summary>
    /// <exception cref="BootException">It is no kernel, or is damaged.</exception>
    public static IBootLoader Recognise(BootFile file)
    {
        if (LinuxBzImageLoader.IsBzImage(file))
            return new LinuxBzImageLoader(file);
        MultibootHeader? multiboot = MultibootHeader.Find(file);
        if (ElfFile.IsElf(file))
        {
            ElfFile elf = ElfFile.Parse(file);
            if (elf.FindPvhEntry() is uint entry)
                return new PvhElfLoader(elf, entry);
            if (multiboot is null)
                throw new BootException(BootError.Unsupported, $"{file.Name}: an ELF file without an entry for a boot loader; it needs a PVH note (Linux: CONFIG_PVH) or a Multiboot header");
        }

        if (multiboot is not null)
            return new MultibootLoader(file, multiboot);
        string start = Convert.ToHexStringLower(file.Bytes[..Math.Min(8, file.Length)]);
        throw new BootException(BootError.NotAKernel, $"{file.Name}: not a kernel (first bytes {start}); a Linux bzImage, an ELF vmlinux with a PVH entry or a Multiboot image would be right");
    }
}
