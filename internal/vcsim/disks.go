package vcsim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vmdk"
)

// disks is the simulator's manager of virtual disks, which copies more.
type disks struct{ *simulator.VirtualDiskManager }

// CopyVirtualDiskTask is the method CopyVirtualDisk_Task of the API.
func (d *disks) CopyVirtualDiskTask(ctx *simulator.Context, req *types.CopyVirtualDisk_Task) soap.HasFault {
	if req.DestDatacenter == nil {
		req.DestDatacenter = req.SourceDatacenter
	}
	source, destination := localFile(ctx, req.SourceDatacenter, req.SourceName), localFile(ctx, req.DestDatacenter, req.DestName)
	in, err := os.Open(source)
	if err != nil || destination == "" {
		return d.VirtualDiskManager.CopyVirtualDiskTask(ctx, req) // says what is wrong
	}
	h, err := readHeader(in)
	if err != nil { // it is a descriptor, with the disk in a file beside it
		_ = in.Close()
		return d.VirtualDiskManager.CopyVirtualDiskTask(ctx, req)
	}
	task := simulator.CreateTask(d, "copyVirtualDisk", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		defer func() { _ = in.Close() }()
		if err := flatten(in, h, destination); err != nil {
			return nil, &types.FileFault{File: req.DestName, VimFault: types.VimFault{MethodFault: types.MethodFault{
				FaultMessage: []types.LocalizableMessage{{Key: "vcsim", Message: err.Error()}},
			}}}
		}
		return nil, nil
	})
	return &methods.CopyVirtualDisk_TaskBody{Res: &types.CopyVirtualDisk_TaskResponse{Returnval: task.Run(ctx)}}
}

// localFile is where the simulator keeps a file of a datastore; "": nowhere.
func localFile(ctx *simulator.Context, dc *types.ManagedObjectReference, name string) string {
	var p object.DatastorePath
	if dc == nil || !p.FromString(name) {
		return ""
	}
	o, ok := ctx.Map.Get(*dc).(*simulator.Datacenter)
	if !ok {
		return ""
	}
	ds, ok := ctx.Map.FindByName(p.Datastore, o.Datastore).(*simulator.Datastore)
	if !ok {
		return ""
	}
	return filepath.Join(ds.Summary.Url, filepath.FromSlash(p.Path))
}

// sparseMax bounds the grains and tables that are read.
const sparseMax = 1 << 20

func readHeader(r io.Reader) (h vmdk.SparseExtentHeaderOnDisk, err error) {
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return h, err
	}
	switch {
	case h.MagicNumber != vmdk.SparseMagicNumber:
		return h, errors.New("no sparse disk")
	case h.Flags&vmdk.SparseFlagCompressed != 0:
		return h, errors.New("a compressed disk is imported, not copied")
	case h.GrainSize == 0 || h.GrainSize > sparseMax || h.NumGTEsPerGT == 0 || h.NumGTEsPerGT > sparseMax || h.Capacity > sparseMax*h.GrainSize:
		return h, errors.New("a sparse disk of another size than the simulator takes")
	}
	return h, nil
}

// flatten writes a sparse disk as a flat one, and its descriptor.
func flatten(in io.ReaderAt, h vmdk.SparseExtentHeaderOnDisk, name string) error {
	backing := strings.TrimSuffix(name, ".vmdk") + "-flat.vmdk"
	out, err := os.OpenFile(backing, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(copyGrains(in, h, out), out.Truncate(int64(h.Capacity)*vmdk.SectorSize), out.Close())
	if err != nil {
		return err
	}
	d, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(vmdk.NewDescriptor(vmdk.Extent{Size: int64(h.Capacity), Info: filepath.Base(backing)}).Write(d), d.Close())
}

func copyGrains(in io.ReaderAt, h vmdk.SparseExtentHeaderOnDisk, out io.WriterAt) error {
	grains := (h.Capacity + h.GrainSize - 1) / h.GrainSize
	grain, table := make([]byte, h.GrainSize*vmdk.SectorSize), make([]uint32, h.NumGTEsPerGT)
	for i := range grains {
		at := i % uint64(h.NumGTEsPerGT)
		if at == 0 {
			where := make([]uint32, 1)
			if err := readEntries(in, h.GDOffset, 4*int64(i)/int64(h.NumGTEsPerGT), where); err != nil {
				return err
			}
			if err := readEntries(in, uint64(where[0]), 0, table); err != nil {
				return err
			}
		}
		if table[at] == 0 { // all zeros
			continue
		}
		if _, err := in.ReadAt(grain, int64(table[at])*vmdk.SectorSize); err != nil {
			return fmt.Errorf("grain %d: %w", i, err)
		}
		if _, err := out.WriteAt(grain, int64(i*h.GrainSize)*vmdk.SectorSize); err != nil {
			return err
		}
	}
	return nil
}

func readEntries(in io.ReaderAt, sector uint64, offset int64, entries []uint32) error {
	part := io.NewSectionReader(in, int64(sector)*vmdk.SectorSize+offset, int64(4*len(entries)))
	return binary.Read(part, binary.LittleEndian, entries)
}
