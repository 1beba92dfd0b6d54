using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Xunit.Sdk;

namespace Doppel.Engines.Tests.Programs;

/// <summary>A child process that runs programs on the host's CPU (native.c). One program at a time.</summary>
internal sealed class NativeProcess : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-native-").FullName;
    private readonly Process _process;

    internal NativeProcess()
    {
        try
        {
            _process = Start();
        }
        catch
        {
            Directory.Delete(_directory, recursive: true);
            throw;
        }
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        _process.WaitForExit();
        _process.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>Runs a program to its end.</summary>
    internal ProgramResult Run(TestProgram program)
    {
        Stream input = _process.StandardInput.BaseStream, output = _process.StandardOutput.BaseStream;
        try
        {
            input.Write(MemoryMarshal.AsBytes<ulong>([program.Entry, program.Flags, .. program.Registers]));
            foreach (byte[] region in program.Regions)
                input.Write(region);
            input.Write(program.Lengths);
            input.Flush();
            ulong[] count = new ulong[1];
            output.ReadExactly(MemoryMarshal.AsBytes(count.AsSpan()));
            ulong[] log = new ulong[(int)count[0] * ProgramLayout.LogWords];
            output.ReadExactly(MemoryMarshal.AsBytes(log.AsSpan()));
            byte[][] regions = [.. ProgramLayout.Regions.Select(region => new byte[region.Size])];
            foreach (byte[] region in regions)
                output.ReadExactly(region);
            return new ProgramResult(log, regions);
        }
        catch (IOException e)
        {
            _process.WaitForExit();
            throw new XunitException($"the native process ended with {_process.ExitCode}: {_process.StandardError.ReadToEnd()}", e);
        }
    }

    private Process Start()
    {
        string source = Path.Combine(_directory, "native.c"), program = Path.Combine(_directory, "native");
        using (Stream text = typeof(NativeProcess).Assembly.GetManifestResourceStream("native.c")!)
        using (FileStream file = File.Create(source))
            text.CopyTo(file);
        string regions = string.Join(", ", ProgramLayout.Regions.Select(region => $"{{0x{region.Address:x}, 0x{region.Size:x}}}"));
        using (Process compiler = Process.Start(new ProcessStartInfo("cc", [
            "-O1", "-Wall", "-Wextra", "-o", program, source,
            $"-DREGIONS={regions}", $"-DCODE=0x{ProgramLayout.Code:x}", Define("CODE_SIZE", ProgramLayout.CodeSize), $"-DDATA=0x{ProgramLayout.Data:x}",
            $"-DDATA_PAGES=\"{ProgramLayout.DataPages}\"", Define("LOG_LIMIT", ProgramLayout.LogLimit), Define("LOG_WORDS", ProgramLayout.LogWords)])
        { RedirectStandardError = true })!)
        {
            string errors = compiler.StandardError.ReadToEnd();
            compiler.WaitForExit();
            if (compiler.ExitCode != 0)
                throw new XunitException($"cc: {errors}");
        }

        return Process.Start(new ProcessStartInfo(program) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
    }

    private static string Define(string name, int value) => string.Create(CultureInfo.InvariantCulture, $"-D{name}={value}");
}
